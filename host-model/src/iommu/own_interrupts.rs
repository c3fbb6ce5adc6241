//! The IOMMU's own interrupts: events, COMPLETION_WAIT, the PPR log and the GA log.
//!
//! The specification says of each status bit that an interrupt is generated when both it and its enable bit in Control
//! are 1. Both forms are messages, so it is the edge that counts: one message when both become 1, none while they stay so.
//! Linux's handler (`amd_iommu_handle_irq`) is made for that: it clears the status bits, by which it means to enable
//! the interrupt again, then empties the log, until the bits stay 0. And it must be the edge of the two together:
//! Linux enables the event log long before its interrupt, so an event in between would silence all later ones.
//!
//! The messages are not remapped (VirtualBox, openvmm).

use super::config::StatusInterrupts;
use super::spec::irte::{DestinationMode, IntType};
use super::spec::registers::{
    Control, MsiAddressLow, MsiCapHeader, MsiData, MsiMappingCap, Status, XtInterruptControl, offset,
};
use crate::driver::MsiMessage;

/// What an interrupt of the IOMMU's own is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterruptSource {
    /// Status.EventLogInt or EventOverflow.
    Event,
    /// Status.ComWaitInt. It has the message of events.
    CompletionWait,
    /// Status.PPRInt or PPROverflow.
    Ppr,
    /// Status.GALogInt or GALogOverflow.
    Ga,
}

/// How an interrupt of the IOMMU's own is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptForm {
    /// As the MSI of its PCI function.
    Msi(MsiMessage),
    /// To a 32-bit destination (Control.IntCapXTEn).
    Xt(XtInterrupt),
}

/// An interrupt as the XT interrupt control registers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct XtInterrupt {
    /// APIC ID or logical destination, 32 bits.
    pub destination: u32,
    /// Physical or logical.
    pub destination_mode: DestinationMode,
    /// Vector.
    pub vector: u8,
    /// Fixed or arbitrated.
    pub int_type: IntType,
}

impl InterruptSource {
    const ALL: [Self; 4] = [Self::Event, Self::CompletionWait, Self::Ppr, Self::Ga];

    /// The status bits that it is about.
    const fn status(self) -> Status {
        match self {
            Self::Event => Status::new().with_event_overflow(true).with_event_log_int(true),
            Self::CompletionWait => Status::new().with_com_wait_int(true),
            Self::Ppr => Status::new().with_ppr_overflow(true).with_ppr_int(true),
            Self::Ga => Status::new().with_ga_log_overflow(true).with_ga_log_int(true),
        }
    }

    const fn enabled(self, control: Control) -> bool {
        match self {
            Self::Event => control.event_int_en(),
            Self::CompletionWait => control.com_wait_int_en(),
            Self::Ppr => control.ppr_int_en(),
            Self::Ga => control.ga_int_en(),
        }
    }

    /// Index of its XT interrupt control register.
    const fn xt_register(self) -> usize {
        match self {
            Self::Event | Self::CompletionWait => 0,
            Self::Ppr => 1,
            Self::Ga => 2,
        }
    }
}

/// Vectors below are no interrupts to an APIC. Linux masks an interrupt by writing 0 to its XT register.
const FIRST_VECTOR: u8 = 16;

/// Which interrupts stand, which wait to be sent, and how to send them.
#[derive(Debug)]
pub(super) struct OwnInterrupts {
    policy: StatusInterrupts,
    msi_header: MsiCapHeader,
    msi_address: u64,
    msi_data: MsiData,
    xt: [XtInterruptControl; 3],
    /// Status bits that are 1 and enabled.
    standing: u64,
    /// Those of them whose message could not be sent, as a pending bit of PCI's MSI: it is when it can be.
    pending: u64,
    /// By source. A message that overtakes another one of its source replaces it, as an APIC would merge them.
    waiting: [Option<InterruptForm>; 4],
    any_waiting: bool,
    undeliverable: u64,
}

impl OwnInterrupts {
    pub(super) fn new(policy: StatusInterrupts) -> Self {
        Self {
            policy,
            msi_header: MsiCapHeader::new(),
            msi_address: 0,
            msi_data: MsiData::new(),
            xt: [XtInterruptControl::new(); 3],
            standing: 0,
            pending: 0,
            waiting: [None; 4],
            any_waiting: false,
            undeliverable: 0,
        }
    }

    pub(super) fn with_undeliverable(self, undeliverable: u64) -> Self {
        Self {
            undeliverable,
            ..self
        }
    }

    /// To be called after each change of Status, Control or the registers here. `set` are the status bits that
    /// something set just now, whether or not they were 1 already.
    pub(super) fn update(&mut self, status: Status, control: Control, set: Status) {
        let mut standing = 0;
        for source in InterruptSource::ALL {
            if source.enabled(control) {
                standing |= source.status().into_bits() & status.into_bits();
            }
        }
        let rising = standing & !self.standing;
        let raised = match self.policy {
            StatusInterrupts::RisingEdge => rising,
            StatusInterrupts::EveryEntry => rising | standing & set.into_bits(),
        };
        self.standing = standing;
        self.pending = self.pending & standing | raised;
        if self.pending == 0 {
            return;
        }
        for source in InterruptSource::ALL {
            let about = source.status().into_bits();
            if self.pending & about != 0 {
                match self.form(source, control) {
                    Some(form) => {
                        self.waiting[source as usize] = Some(form);
                        self.any_waiting = true;
                        self.pending &= !about;
                    }
                    None => self.undeliverable += u64::from(raised & about != 0),
                }
            }
        }
    }

    fn form(&self, source: InterruptSource, control: Control) -> Option<InterruptForm> {
        if !control.int_cap_xt_en() {
            // It asks for one message only, so the message number is 0 for all.
            let message = MsiMessage {
                address: self.msi_address,
                data: self.msi_data.data().into(),
            };
            return self.msi_header.enable().then_some(InterruptForm::Msi(message));
        }
        let xt = self.xt[source.xt_register()];
        let destination_mode = if xt.logical() {
            DestinationMode::Logical
        } else {
            DestinationMode::Physical
        };
        let int_type = if xt.arbitrated() {
            IntType::Arbitrated
        } else {
            IntType::Fixed
        };
        (xt.vector() >= FIRST_VECTOR).then_some(InterruptForm::Xt(XtInterrupt {
            destination: xt.destination(),
            destination_mode,
            vector: xt.vector(),
            int_type,
        }))
    }

    /// Do messages wait to be sent?
    #[inline]
    pub(super) fn waiting(&self) -> bool {
        self.any_waiting
    }

    /// The next message to send.
    pub(super) fn send(&mut self) -> Option<(InterruptSource, InterruptForm)> {
        let next = InterruptSource::ALL
            .into_iter()
            .find_map(|source| Some((source, self.waiting[source as usize].take()?)));
        self.any_waiting = self.waiting.iter().any(Option::is_some);
        next
    }

    /// Interrupts that could not be sent at once: MSI is disabled, or the XT register has no vector.
    pub(super) const fn undeliverable(&self) -> u64 {
        self.undeliverable
    }

    /// The MSI capability, as configuration space sets it: `None` disables it.
    pub(super) fn set_msi(&mut self, message: Option<MsiMessage>) {
        self.msi_header.set_enable(message.is_some());
        if let Some(MsiMessage { address, data }) = message {
            self.msi_address = address & MSI_ADDRESS;
            self.msi_data = MsiData::from_bits(data & MsiData::WRITABLE);
        }
    }

    /// Bits of the registers that software can write: pairs of 32-bit MSI registers, and XT interrupt control.
    pub(super) const fn writable(register: u64) -> u64 {
        match register {
            offset::MSI_CAP_HEADER => (MsiAddressLow::WRITABLE as u64) << 32 | MsiCapHeader::WRITABLE as u64,
            offset::MSI_ADDRESS_HIGH => (MsiData::WRITABLE as u64) << 32 | 0xffff_ffff,
            offset::XT_INT_CONTROL | offset::XT_PPR_INT_CONTROL | offset::XT_GA_INT_CONTROL => {
                XtInterruptControl::WRITABLE
            }
            _ => 0,
        }
    }

    pub(super) fn read(&self, register: u64) -> u64 {
        match register {
            offset::MSI_CAP_HEADER => self.msi_address << 32 | u64::from(self.msi_header.into_bits()),
            offset::MSI_ADDRESS_HIGH => u64::from(self.msi_data.into_bits()) << 32 | self.msi_address >> 32,
            offset::MSI_MAPPING_CAP => MsiMappingCap::new().into_bits().into(),
            offset::XT_INT_CONTROL => self.xt[0].into_bits(),
            offset::XT_PPR_INT_CONTROL => self.xt[1].into_bits(),
            offset::XT_GA_INT_CONTROL => self.xt[2].into_bits(),
            _ => 0,
        }
    }

    /// Sets a register to what [`Self::writable`] lets software make of it.
    pub(super) fn write(&mut self, register: u64, value: u64) {
        let (low, high) = (value & 0xffff_ffff, value >> 32);
        match register {
            offset::MSI_CAP_HEADER => {
                self.msi_header = MsiCapHeader::from_bits(low as u32);
                self.msi_address = self.msi_address >> 32 << 32 | high;
            }
            offset::MSI_ADDRESS_HIGH => {
                self.msi_address = self.msi_address & 0xffff_ffff | low << 32;
                self.msi_data = MsiData::from_bits(high as u32);
            }
            offset::XT_INT_CONTROL => self.xt[0] = XtInterruptControl::from_bits(value),
            offset::XT_PPR_INT_CONTROL => self.xt[1] = XtInterruptControl::from_bits(value),
            offset::XT_GA_INT_CONTROL => self.xt[2] = XtInterruptControl::from_bits(value),
            _ => {}
        }
    }
}

/// Bits of an MSI address.
const MSI_ADDRESS: u64 = !3;
