//! Commands: fetch, execute, retire.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::config::DevtabInvalidation;
use super::in_flight::Barrier;
use super::spec::command::Command;
use super::spec::event::{Event, HardwareError};
use super::spec::registers::{Ring, RingPointer};
use super::step::{HaltReason, Step};
use super::{Iommu, State};

/// Commands between fetch and retirement.
#[derive(Debug, Default)]
pub(super) struct CommandProcessor {
    /// Executed invalidations that older lookups keep from retiring.
    executed: Vec<Executed>,
    /// A COMPLETION_WAIT at the head pointer, which waits for `executed` to empty.
    waiting: Option<Command>,
}

#[derive(Debug)]
struct Executed {
    offset: u32,
    command: Command,
    barrier: Barrier,
}

/// Executed commands that are remembered until they retire; fetching stops beyond that.
const CAPACITY: usize = 64;

impl CommandProcessor {
    /// Forgets what was fetched from a ring that runs no more.
    pub(super) fn stopped(&mut self) {
        self.waiting = None;
    }
}

impl<M: GuestMemory> Iommu<M> {
    pub(super) fn command_work(&self, state: &State) -> bool {
        let State {
            registers, commands, ..
        } = state;
        if commands
            .executed
            .iter()
            .any(|e| self.in_flight.passed(&e.barrier))
        {
            return true;
        }
        let fetchable = registers
            .command_ring()
            .is_some_and(|ring| ring.offset(registers.cmd_head) != ring.offset(registers.cmd_tail));
        let room = match commands.waiting {
            Some(_) => commands.executed.is_empty(),
            None => commands.executed.len() < CAPACITY,
        };
        fetchable && room
    }

    pub(super) fn command_step(&self, state: &mut State) -> Option<Step> {
        let commands = &mut state.commands;
        if let Some(retired) = commands
            .executed
            .iter()
            .position(|e| self.in_flight.passed(&e.barrier))
        {
            let Executed { offset, command, .. } = commands.executed.remove(retired);
            return Some(Step::CommandRetired { offset, command });
        }
        let ring = state.registers.command_ring()?;
        let offset = ring.offset(state.registers.cmd_head);
        if offset == ring.offset(state.registers.cmd_tail) {
            return None;
        }
        let command = match commands.waiting {
            Some(_) if !commands.executed.is_empty() => return None,
            Some(command) => command,
            None if commands.executed.len() == CAPACITY => return None,
            None => match self.fetch(ring, offset) {
                Ok(command) => command,
                Err(halt) => return Some(self.halt(state, offset, halt)),
            },
        };
        if matches!(command, Command::CompletionWait { .. }) && !commands.executed.is_empty() {
            commands.waiting = Some(command);
            return Some(Step::Waiting { offset, command });
        }
        commands.waiting = None;
        Some(match self.execute(state, offset, command) {
            Ok(step) => {
                state.registers.cmd_head = RingPointer::at(ring.next(offset));
                step
            }
            Err(halt) => self.halt(state, offset, halt),
        })
    }

    fn fetch(&self, ring: Ring, offset: u32) -> Result<Command, (HaltReason, Event)> {
        let address = ring.address + u64::from(offset);
        let mut bytes = [0; 16];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .map_err(|_| {
                let event = Event::CommandHardwareError {
                    address,
                    error: HardwareError::MasterAbort,
                };
                (HaltReason::FetchFailed(address), event)
            })?;
        let raw = bytemuck::must_cast::<_, [u64; 2]>(bytes).map(u64::from_le);
        Command::parse(raw, &self.config.features)
            .map_err(|error| (HaltReason::Illegal(error), Event::IllegalCommandError { address }))
    }

    fn execute(&self, state: &mut State, offset: u32, command: Command) -> Result<Step, (HaltReason, Event)> {
        let device = match command {
            Command::CompletionWait {
                store,
                interrupt,
                data,
                ..
            } => {
                if let Some(address) = store {
                    self.memory
                        .store(data.to_le(), GuestAddress(address), Ordering::Release)
                        .map_err(|_| {
                            let event = Event::CommandHardwareError {
                                address,
                                error: HardwareError::MasterAbort,
                            };
                            (HaltReason::StoreFailed(address), event)
                        })?;
                }
                if interrupt {
                    state.registers.status.set_com_wait_int(true);
                }
                return Ok(match store {
                    Some(address) => Step::CompletionStored {
                        offset,
                        command,
                        address,
                        data,
                    },
                    None => Step::CommandExecuted {
                        offset,
                        command,
                        retired: true,
                    },
                });
            }
            // Interrupts use no translations.
            Command::InvalidateIommuPages { .. } => {
                return Ok(Step::CommandExecuted {
                    offset,
                    command,
                    retired: true,
                });
            }
            Command::InvalidateDevtabEntry(device) => {
                self.dte_generations.invalidate(device);
                if self.config.policies.devtab_invalidation == DevtabInvalidation::DteAndIrtes {
                    self.irt_generations.invalidate(device);
                }
                Some(device)
            }
            Command::InvalidateInterruptTable(device) => {
                self.irt_generations.invalidate(device);
                Some(device)
            }
            Command::InvalidateIommuAll => {
                self.dte_generations.invalidate_all();
                self.irt_generations.invalidate_all();
                None
            }
        };
        // After the new generation is visible: a lookup behind the barrier can't hit what was cached before.
        let barrier = self.in_flight.barrier(device);
        let retired = self.in_flight.passed(&barrier);
        if !retired {
            state.commands.executed.push(Executed {
                offset,
                command,
                barrier,
            });
        }
        Ok(Step::CommandExecuted {
            offset,
            command,
            retired,
        })
    }

    fn halt(&self, state: &mut State, offset: u32, (reason, event): (HaltReason, Event)) -> Step {
        state.registers.halt_commands();
        state.events.push(event, &mut state.registers);
        Step::Halted {
            offset,
            reason,
            event,
        }
    }
}
