//! Guest mode (vAPIC): interrupts for virtual CPUs. Hardware requests the vector in the virtual CPU's *backing page*, a
//! page with the registers of a local APIC, and tells the physical CPU that runs the virtual one, or the hypervisor.

use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemory, VolatileMemory};

use super::Iommu;
use super::outcome::Outcome;
use super::spec::event::HardwareError;
use super::spec::irte::GuestIrte;
use super::spec::log::GaEntry;
use super::spec::registers::Control;
use super::verdict::{IrteTarget, Judge, Refusal};

/// An interrupt that was requested in a vAPIC backing page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Posted {
    /// Physical address of the page.
    pub backing_page: u64,
    /// The guest's vector.
    pub vector: u8,
    /// Who is told.
    pub notice: Notice,
    /// Of the table entry.
    pub index: u16,
}

/// Who is told of a posted interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// IsRun: a doorbell interrupt to this physical APIC ID, 8 bits unless Control.XTEn.
    Doorbell(u32),
    /// GALogIntr: an entry with this GATag for the GA log. Whether it reaches the log is up to Control.GALogEn;
    /// [`Step`](super::Step) tells.
    GaLog(u32),
    /// Nobody: the virtual CPU finds the request when it runs.
    Nobody,
}

impl Posted {
    /// What an entry asks for.
    pub(super) const fn by(irte: &GuestIrte, index: u16) -> Self {
        let notice = match (irte.is_run, irte.ga_log_intr) {
            (true, _) => Notice::Doorbell(irte.destination),
            (false, true) => Notice::GaLog(irte.ga_tag),
            (false, false) => Notice::Nobody,
        };
        Self {
            backing_page: irte.backing_page,
            vector: irte.vector,
            notice,
            index,
        }
    }

    /// The 32-bit interrupt request register with the vector's bit: IRR n is at 0x200 + 0x10 n (AMD APM volume 2,
    /// 16.3.2 APIC Registers).
    pub(super) const fn irr_address(&self) -> u64 {
        self.backing_page + 0x200 + 0x10 * (self.vector as u64 / 32)
    }

    /// Sets the vector's bit, which a virtual CPU and other devices may do with others of the word at the same time.
    pub(super) fn request(&self, memory: &impl GuestMemory) -> Result<(), HardwareError> {
        let bit = 1_u32 << (self.vector % 32);
        let slice = memory
            .get_slice(GuestAddress(self.irr_address()), size_of::<u32>())
            .map_err(|_| HardwareError::MasterAbort)?;
        let word = slice
            .get_atomic_ref::<AtomicU32>(0)
            .map_err(|_| HardwareError::MasterAbort)?;
        // Released: what the device wrote before is there when the guest sees the request.
        word.fetch_or(bit.to_le(), Ordering::AcqRel);
        slice.bitmap().mark_dirty(0, size_of::<u32>());
        Ok(())
    }
}

impl<M: GuestMemory> Iommu<M> {
    /// Requests the interrupt and tells who is to be told.
    pub(super) fn post(
        &self,
        judge: &Judge<'_>,
        target: &IrteTarget,
        posted: Posted,
    ) -> Result<Outcome, Refusal> {
        let address = posted.irr_address();
        let fault = self.config.faults.on_read(address, size_of::<u32>());
        let requested = fault.map_or_else(|| posted.request(&*self.memory), Err);
        requested.map_err(|error| judge.unwritable_backing_page(target, address, error))?;
        if let Notice::GaLog(tag) = posted.notice {
            let device = judge.request.requester;
            self.lock().registers.log_ga(GaEntry { device, tag });
        }
        Ok(Outcome::Posted(posted))
    }
}

/// GuestMode means something: 128-bit entries, and GAMEn 1, the only mode there is.
pub(super) const fn enabled(control: Control) -> bool {
    control.ga_en() && control.gam_en() == 1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use vm_memory::{Bytes, GuestMemoryMmap};

    use super::*;

    const PAGE: u64 = 0x3000;

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap()
    }

    fn posted(backing_page: u64, vector: u8) -> Posted {
        Posted {
            backing_page,
            vector,
            notice: Notice::Nobody,
            index: 0,
        }
    }

    /// Bytes of the page that are not zero.
    fn set_bytes(memory: &GuestMemoryMmap) -> Vec<(usize, u8)> {
        let mut page = [0; 0x1000];
        memory.read_slice(&mut page, GuestAddress(PAGE)).unwrap();
        page.into_iter()
            .enumerate()
            .filter(|(_, byte)| *byte != 0)
            .collect()
    }

    #[test]
    fn a_running_virtual_cpu_gets_a_doorbell_and_another_at_most_a_log_entry() {
        let notice = |is_run, ga_log_intr| {
            let irte = GuestIrte {
                is_run,
                ga_log_intr,
                destination: 7,
                ga_tag: 0x0100_0003,
                vector: 0x41,
                backing_page: PAGE,
            };
            Posted::by(&irte, 3).notice
        };
        assert_eq!(notice(true, false), Notice::Doorbell(7));
        assert_eq!(notice(true, true), Notice::Doorbell(7));
        assert_eq!(notice(false, true), Notice::GaLog(0x0100_0003));
        assert_eq!(notice(false, false), Notice::Nobody);
    }

    #[test]
    fn each_vector_has_its_bit_in_the_request_register() {
        // Linux kvm_lapic_set_vector: bit v & 31 of the register at APIC_IRR (0x200) + (v >> 5 << 4).
        let table = [
            (0, 0x200, 0x01),
            (0x1f, 0x203, 0x80),
            (0x20, 0x210, 0x01),
            (0x41, 0x220, 0x02),
            (0x6c, 0x231, 0x10),
            (0xff, 0x273, 0x80),
        ];
        for (vector, byte, bit) in table {
            let memory = memory();
            assert_eq!(posted(PAGE, vector).request(&memory), Ok(()));
            assert_eq!(set_bytes(&memory), [(byte, bit)], "vector {vector:#x}");
        }
    }

    #[test]
    fn requests_of_other_vectors_stay() {
        let memory = memory();
        for vector in [0x41, 0x42, 0x41] {
            posted(PAGE, vector).request(&memory).unwrap();
        }
        assert_eq!(set_bytes(&memory), [(0x220, 0b110)]);
    }

    #[test]
    fn what_the_guest_does_to_other_vectors_at_the_same_time_stays() {
        let memory = memory();
        let posting = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1_000_000 {
                    posted(PAGE, 0x40).request(&memory).unwrap();
                }
                posting.store(false, Ordering::Relaxed);
            });
            let slice = memory.get_slice(GuestAddress(PAGE + 0x220), 4).unwrap();
            let guest = slice.get_atomic_ref::<AtomicU32>(0).unwrap();
            while posting.load(Ordering::Relaxed) {
                assert_eq!(guest.fetch_or(2, Ordering::AcqRel) & 2, 0, "an end came undone");
                assert_eq!(guest.fetch_and(!2, Ordering::AcqRel) & 2, 2, "a request is lost");
            }
        });
    }

    #[test]
    fn a_page_outside_of_memory_takes_no_request() {
        for page in [0x4000, 0x000f_ffff_ffff_f000] {
            assert_eq!(
                posted(page, 0x41).request(&memory()),
                Err(HardwareError::MasterAbort)
            );
        }
    }

    #[test]
    fn guest_mode_needs_128_bit_entries_and_gam_en_1() {
        // Control.GAEn is bit 17, GAMEn 27:25.
        assert!(enabled(Control::from_bits(1 << 17 | 1 << 25)));
        for control in [0, 1 << 17, 1 << 25, 1 << 17 | 2 << 25, 1 << 17 | 7 << 25] {
            assert!(!enabled(Control::from_bits(control)), "{control:#x}");
        }
    }
}
