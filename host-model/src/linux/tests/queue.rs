use sim_bridge::SimTime;

use super::*;
use crate::iommu::spec::registers::offset;
use crate::machine::IOMMU_MMIO;
use crate::trace::Kind;

const COMMAND: Command = Command::InvalidateDevtabEntry(NTB);

/// Runs with an empty ring, which the IOMMU consumes (`consumes`) or not.
fn with_ring<T: 'static, F>(consumes: bool, main: impl FnOnce(Cpu, Rc<LinuxDriver>) -> F + 'static) -> T
where
    F: Future<Output = T> + 'static,
{
    Setup::new(Profile::LINUX_7_2, &[]).run(move |cpu, driver, _| async move {
        driver.enable_command_buffer(&cpu).await;
        if consumes {
            boot::control(&cpu, |c| c.with_iommu_en(true)).await;
        }
        cpu.machine().trace().take();
        main(cpu, driver).await
    })
}

async fn fill(cpu: &Cpu, driver: &LinuxDriver) {
    for _ in 0..509 {
        driver.queue.queue(cpu, COMMAND).await.expect("room");
    }
}

fn log(cpu: &Cpu) -> Vec<String> {
    let events = cpu.machine().trace().take();
    let lines = events.into_iter().filter_map(|event| match event.kind {
        Kind::KernelLog(line) => Some(line),
        _ => None,
    });
    lines.collect()
}

#[test]
fn a_ring_takes_509_commands_without_a_look_at_the_head() {
    let spent = with_ring(false, |cpu, driver| async move {
        let start = cpu.machine().now();
        fill(&cpu, &driver).await;
        cpu.machine().now() - start
    });
    // A tail write each, nothing else.
    assert_eq!(spent, SimTime::from_ns(509 * 100));
}

#[test]
fn a_full_ring_fails_after_99998_delays_of_a_microsecond() {
    let (result, spent, lines) = with_ring(false, |cpu, driver| async move {
        fill(&cpu, &driver).await;
        let start = cpu.machine().now();
        let result = driver.queue.queue(&cpu, COMMAND).await;
        (result, cpu.machine().now() - start, log(&cpu))
    });
    assert_eq!(result, Err(DriverError::Io));
    assert_eq!(lines, ["AMD-Vi: Command buffer timeout"]);
    // The head is read once before the first delay.
    assert_eq!(spent, SimTime::from_us(99_998) + SimTime::from_ns(99_999 * 400));
}

#[test]
fn a_ring_that_only_looked_full_costs_one_read_of_the_head() {
    let spent = with_ring(true, |cpu, driver| async move {
        fill(&cpu, &driver).await;
        let start = cpu.machine().now();
        driver.queue.queue(&cpu, COMMAND).await.expect("room");
        cpu.machine().now() - start
    });
    assert_eq!(spent, SimTime::from_ns(400 + 100));
}

#[test]
fn a_spinning_cpu_keeps_the_lock_and_takes_no_interrupt() {
    let (events, failed_at) = with_ring(false, |cpu, driver| async move {
        fill(&cpu, &driver).await;
        let (machine, other) = (cpu.machine().clone(), driver.clone());
        cpu.machine().executor().spawn("CPU 1", async move {
            machine.executor().sleep(SimTime::from_us(5)).await;
            if let Some(apic) = machine.apic(0) {
                apic.accept(machine.now(), 0x55);
            }
            let cpu = machine.cpu(1);
            drop(other.queue.lock(&cpu).await);
            cpu.log("CPU 1 has the lock");
        });
        let _ = driver.queue.queue(&cpu, COMMAND).await;
        let failed_at = cpu.machine().now();
        cpu.delay(SimTime::from_us(5)).await;
        (cpu.machine().trace().take(), failed_at)
    });
    let at = |wanted: &dyn Fn(&Kind) -> bool| {
        let event = events.iter().find(|event| wanted(&event.kind));
        event.expect("it happens").time
    };
    let taken = at(&|kind| matches!(kind, Kind::Taken { vector: 0x55, .. }));
    let locked = at(&|kind| matches!(kind, Kind::KernelLog(line) if line.contains("CPU 1")));
    assert!(
        taken >= failed_at && locked >= failed_at,
        "{taken} {locked} {failed_at}"
    );
}

#[test]
fn waiting_without_anything_queued_queues_nothing() {
    let (result, commands) = with_ring(true, |cpu, driver| async move {
        let result = driver.queue.completion_wait(&cpu).await;
        (result, notation(&cpu.machine().trace().take()))
    });
    assert_eq!((result, commands.as_str()), (Ok(()), ""));
}

#[test]
fn waiting_without_anything_new_waits_for_the_last_number() {
    let (spent, commands) = with_ring(false, |cpu, driver| async move {
        let locked = driver.queue.lock(&cpu).await;
        let number = driver.queue.number_under_lock(&cpu, &locked);
        let wait = driver.queue.wait_command(number);
        driver
            .queue
            .queue_sync(&cpu, &locked, wait, false)
            .await
            .expect("room");
        drop(locked);
        let start = cpu.machine().now();
        let other = cpu.machine().cpu(1);
        cpu.machine().executor().spawn("CPU 1", async move {
            other.udelay(10).await;
            boot::control(&other, |c| c.with_iommu_en(true)).await;
        });
        driver.queue.completion_wait(&cpu).await.expect("completes");
        let spent = cpu.machine().now() - start;
        (spent, notation(&cpu.machine().trace().take()))
    });
    assert!(spent >= SimTime::from_us(10), "{spent}");
    assert_eq!(commands, "W");
}

#[test]
fn a_wait_that_is_never_answered_fails_after_100000_microseconds() {
    let (result, spent, lines) = with_ring(false, |cpu, driver| async move {
        driver.queue.queue(&cpu, COMMAND).await.expect("room");
        let start = cpu.machine().now();
        let result = driver.queue.completion_wait(&cpu).await;
        (result, cpu.machine().now() - start, log(&cpu))
    });
    assert_eq!(result, Err(DriverError::Io));
    assert_eq!(lines, ["AMD-Vi: Completion-Wait loop timed out"]);
    // The tail write of the COMPLETION_WAIT, then the delays.
    assert_eq!(spent, SimTime::from_ns(100) + SimTime::from_us(100_000));
}

#[test]
fn the_ring_wraps_after_512_commands() {
    let (tail, executed) = with_ring(true, |cpu, driver| async move {
        for _ in 0..600 {
            driver.queue.queue(&cpu, COMMAND).await.expect("room");
        }
        driver.queue.completion_wait(&cpu).await.expect("completes");
        let tail = cpu.readl(IOMMU_MMIO + offset::CMD_BUF_TAIL).await;
        let events = cpu.machine().trace().take();
        (tail, events.iter().filter_map(Event::executed).count())
    });
    assert_eq!((tail, executed), ((601 - 512) * 16, 601));
}
