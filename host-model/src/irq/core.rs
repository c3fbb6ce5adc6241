use std::rc::Rc;

use super::life::{activate, deactivate, lock_of, shutdown, startup, with};
use super::{CpuMask, Handler, Irq, IrqError};
use crate::driver::IommuDriver;
use crate::machine::Cpu;

/// The interrupt core of an operating system with an IOMMU driver below it.
#[derive(Clone)]
pub struct IrqCore {
    pub(super) driver: Rc<dyn IommuDriver>,
}

impl IrqCore {
    /// On top of a driver.
    pub fn new(driver: Rc<dyn IommuDriver>) -> Self {
        Self { driver }
    }

    /// `request_irq`, with `irq_set_affinity` before it: installs a handler, points the entry at one of the CPUs `on` and
    /// unmasks the device's vector. A managed interrupt goes to its own CPUs.
    ///
    /// # Errors
    /// It is requested, no CPU has a free vector, or the driver fails.
    pub async fn request(
        &self,
        cpu: &Cpu,
        irq: Irq,
        on: impl Into<CpuMask>,
        handler: Handler,
    ) -> Result<(), IrqError> {
        let on = on.into();
        let lock = lock_of(cpu.machine(), irq)?;
        cpu.until_resumed().await;
        let _guard = lock.lock_irqsave(cpu).await;
        let startable = {
            let mut state = cpu.machine().irqs_mut();
            let online = state.online().clone();
            let descriptor = state.get_mut(irq)?;
            if descriptor.handler.is_some() {
                return Err(IrqError::Requested(irq));
            }
            if !descriptor.managed {
                descriptor.affinity = on;
                descriptor.affinity_set = true;
            }
            descriptor.managed_shutdown = descriptor.managed && !descriptor.affinity.intersects(&online);
            !descriptor.managed_shutdown
        };
        if startable {
            activate(cpu, irq).await?;
        }
        with(cpu, irq, |descriptor| {
            descriptor.handler = Some(handler);
            descriptor.unhandled = Default::default();
        });
        if startable {
            startup(cpu, irq).await;
        }
        Ok(())
    }

    /// `free_irq`: masks the device's vector, waits for running handlers, makes the entry invalid and gives the
    /// vectors back.
    ///
    /// # Errors
    /// It is not requested, or the driver fails; in the second case the vectors are given back all the same.
    pub async fn free_irq(&self, cpu: &Cpu, irq: Irq) -> Result<(), IrqError> {
        let lock = lock_of(cpu.machine(), irq)?;
        cpu.until_resumed().await;
        let ended = {
            let _guard = lock.lock_irqsave(cpu).await;
            let (ended, hinted) = {
                let mut state = cpu.machine().irqs_mut();
                let descriptor = state.get_mut(irq)?;
                if descriptor.handler.take().is_none() {
                    return Err(IrqError::NotRequested(irq));
                }
                (
                    descriptor.ended.clone(),
                    descriptor.affinity_hint.take().is_some(),
                )
            };
            if hinted {
                cpu.log(format!("WARNING: affinity_hint of IRQ {} at free_irq", irq.0));
            }
            shutdown(cpu, irq).await;
            ended
        };
        // __synchronize_irq
        ended
            .wait_until(|| with(cpu, irq, |descriptor| descriptor.in_progress) != Some(true))
            .await;
        cpu.until_resumed().await;
        let _guard = lock.lock_irqsave(cpu).await;
        deactivate(cpu, irq).await
    }
}
