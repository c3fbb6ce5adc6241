//! A remapped interrupt as a message again.

use super::outcome::{Interrupt, InterruptRequest};
use super::spec::irte::{DestinationMode, IntType};
use super::spec::msi::{MsiAddress, MsiData};

impl Interrupt {
    /// What leaves the IOMMU for `request`: the bits that the table entry does not own (redirection hint, level,
    /// trigger mode, and what is reserved) are the device's own, as in VirtualBox. Destination bits 31:8 are where
    /// Linux's `x86_msi_addr_hi` has them.
    #[must_use]
    pub const fn message(&self, request: &InterruptRequest) -> InterruptRequest {
        let delivery_mode = match self.int_type() {
            IntType::Fixed => 0,
            IntType::Arbitrated => 1,
        };
        InterruptRequest {
            requester: request.requester,
            address: MsiAddress::from_bits(request.address)
                .with_logical(matches!(self.destination_mode(), DestinationMode::Logical))
                .with_destination(self.destination() as u8)
                .with_destination_high(self.destination() >> 8)
                .into_bits(),
            data: MsiData::from_bits(request.data)
                .with_vector(self.vector())
                .with_delivery_mode(delivery_mode)
                .into_bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sim_bridge::RequesterId;

    use super::*;

    const FROM: InterruptRequest = InterruptRequest {
        requester: RequesterId(0x4100),
        address: 0xfee0_0000,
        data: 3,
    };

    const TO: Interrupt = Interrupt::new()
        .with_destination(5)
        .with_vector(0x31)
        .with_index(3);

    fn message(to: Interrupt) -> (u64, u32) {
        let message = to.message(&FROM);
        assert_eq!(message.requester, FROM.requester);
        (message.address, message.data)
    }

    #[test]
    fn destination_and_vector_are_the_entrys() {
        assert_eq!(message(TO), (0xfee0_5000, 0x31));
        let destination = 0x8945_6789;
        assert_eq!(
            message(TO.with_destination(destination)),
            (0x8945_6700_fee8_9000, 0x31)
        );
    }

    #[test]
    fn destination_mode_and_interrupt_type_are_the_entrys() {
        let destination_mode = DestinationMode::Logical;
        assert_eq!(
            message(TO.with_destination_mode(destination_mode)),
            (0xfee0_5004, 0x31)
        );
        let int_type = IntType::Arbitrated;
        assert_eq!(message(TO.with_int_type(int_type)), (0xfee0_5000, 0x131));
    }

    proptest! {
        #[test]
        fn bits_that_the_entry_does_not_own_are_the_devices(
            low in 0_u64..1 << 20,
            data: u32,
            destination: u8,
            vector: u8,
        ) {
            let request = InterruptRequest { address: 0xfee0_0000 | low, data, ..FROM };
            let to = TO.with_destination(destination.into()).with_vector(vector);
            let message = to.message(&request);
            // The entry owns destination 19:12, DM 2; delivery mode 10:8, vector 7:0.
            prop_assert_eq!((message.address ^ request.address) & !0xf_f004, 0);
            prop_assert_eq!((message.data ^ request.data) & !0x7ff, 0);
            prop_assert_eq!(message.address & 0xf_f004, u64::from(destination) << 12);
            prop_assert_eq!(message.data & 0x7ff, u32::from(vector));
        }
    }
}
