//! From a CPU's vector to the handler (Linux `common_interrupt`, kernel/irq/chip.c).

use super::affinity::{move_cleanup, move_pending};
use super::life::{lock_of, with};
use super::matrix::FIRST_SYSTEM_VECTOR;
use super::ratelimit::Allowed;
use super::vectors::VectorIrq;
use super::{Handler, Irq, IrqReturn};
use crate::machine::Cpu;
use crate::trace::{Kind, Source};

/// A CPU takes an interrupt.
pub(crate) async fn common_interrupt(cpu: &Cpu, vector: u8) {
    let slot = (cpu.id(), vector);
    let (installed, cleanup_vector) = {
        let state = cpu.machine().irqs();
        (state.vectors.at(slot), state.vectors.cleanup_vector())
    };
    let irq = match installed {
        VectorIrq::Irq(irq) => Some(irq),
        _ => None,
    };
    let is_cleanup = cleanup_vector == Some(vector);
    let handled = irq.and_then(|irq| with(cpu, irq, |descriptor| descriptor.handler.is_some()));
    cpu.record(
        Source::Cpu(cpu.id()),
        Kind::Taken {
            vector,
            handled: is_cleanup || handled == Some(true),
        },
    );
    match installed {
        _ if is_cleanup => move_cleanup(cpu, vector),
        VectorIrq::Irq(irq) => handle_irq(cpu, irq).await,
        _ if vector >= FIRST_SYSTEM_VECTOR => cpu.log(format!(
            "Spurious interrupt (vector {vector:#04x}) on CPU#{}. Acked",
            cpu.id()
        )),
        VectorIrq::Unused => log_no_handler(cpu, vector),
        VectorIrq::Shutdown | VectorIrq::Retriggered => {
            cpu.machine().irqs_mut().vectors.set(slot, VectorIrq::Unused);
        }
    }
}

/// `pr_emerg_ratelimited`.
fn log_no_handler(cpu: &Cpu, vector: u8) {
    let allowed = {
        let machine = cpu.machine();
        machine.irqs_mut().no_handler.allow(machine.now())
    };
    match allowed {
        Allowed::No => return,
        Allowed::Yes { suppressed: 0 } => {}
        Allowed::Yes { suppressed } => {
            cpu.log(format!("call_irq_handler: {suppressed} callbacks suppressed"));
        }
    }
    cpu.log(format!("{}.{vector} No irq handler for vector", cpu.id()));
}

/// `handle_edge_irq`, or `handle_fasteoi_irq` of a level-triggered interrupt. Of an edge-triggered one, what comes while
/// its handler runs masks it, and is handled by the CPU where the handler runs.
async fn handle_irq(cpu: &Cpu, irq: Irq) {
    let Ok(lock) = lock_of(cpu.machine(), irq) else {
        return;
    };
    let mut guard = lock.lock(cpu).await;
    let Some((may_run, mask, chip, message)) = with(cpu, irq, |descriptor| {
        let wanted = !descriptor.is_off() && descriptor.handler.is_some();
        let may_run = wanted && !descriptor.in_progress;
        let level = descriptor.chip.is_level();
        let mask = !(may_run || descriptor.masked || level && descriptor.in_progress);
        if may_run {
            descriptor.count(cpu.id());
        } else {
            descriptor.pending |= !level;
        }
        descriptor.masked |= mask;
        (may_run, mask, descriptor.chip.clone(), descriptor.message)
    }) else {
        return;
    };
    if !may_run {
        if mask {
            chip.mask(cpu).await;
        }
        return chip.end_of_interrupt(cpu, message).await;
    }
    if !chip.is_level() {
        move_pending(cpu, irq).await;
    }
    loop {
        let Some(Some(handler)) = with(cpu, irq, |descriptor| descriptor.handler.clone()) else {
            if with(cpu, irq, |descriptor| {
                std::mem::replace(&mut descriptor.masked, true)
            }) == Some(false)
            {
                chip.mask(cpu).await;
            }
            return;
        };
        let unmask = with(cpu, irq, |descriptor| {
            descriptor.in_progress = true;
            let pending = std::mem::take(&mut descriptor.pending);
            pending && !descriptor.is_off() && std::mem::take(&mut descriptor.masked)
        });
        if unmask == Some(true) {
            chip.unmask(cpu).await;
        }
        drop(guard);
        handle_irq_event(cpu, irq, handler).await;
        guard = lock.lock(cpu).await;
        let again = with(cpu, irq, |descriptor| {
            descriptor.in_progress = false;
            descriptor.ended.notify();
            descriptor.pending && !descriptor.is_off()
        });
        if again != Some(true) {
            break;
        }
    }
    if chip.is_level() {
        // ioapic_ir_ack_level
        move_pending(cpu, irq).await;
        chip.end_of_interrupt(cpu, message).await;
    }
}

async fn handle_irq_event(cpu: &Cpu, irq: Irq, handler: Handler) {
    let result: IrqReturn = handler(cpu.clone()).await;
    let jiffy = cpu.machine().timing().jiffy.as_ps().max(1);
    let (jiffies, hz) = (cpu.machine().now().as_ps() / jiffy, 1_000_000_000_000 / jiffy);
    let nobody_cared = with(cpu, irq, |descriptor| {
        let nobody_cared = descriptor.unhandled.note(result, jiffies, hz);
        // Lazily: it is masked when the next one comes.
        descriptor.disabled |= nobody_cared;
        nobody_cared
    });
    if nobody_cared == Some(true) {
        cpu.log(format!(
            "irq {}: nobody cared (try booting with the \"irqpoll\" option)",
            irq.0
        ));
        cpu.log(format!("Disabling IRQ #{}", irq.0));
    }
}
