//! Sleeping until the other side has done something.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::thread::futex;

/// The owner is awake; anything that is not one of the constants below is taken for this.
const AWAKE: u32 = 0;
/// It sleeps until a message comes.
const FOR_MESSAGES: u32 = 1;
/// It sleeps until a message comes or its outbound ring has room.
const FOR_ROOM: u32 = 2;

/// What a side sleeps for, and what it is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Message,
    Room,
}

/// A word in the shared memory by which its owner is woken.
///
/// Its owner sets it, looks again for what it waits for, and sleeps in the kernel while it is set; whoever does
/// something for the owner looks at it afterwards. The fences make at least one of them see the other.
pub(super) struct Bell<'a>(pub &'a AtomicU32);

impl Bell<'_> {
    pub fn arm(&self, event: Event) {
        let value = match event {
            Event::Message => FOR_MESSAGES,
            Event::Room => FOR_ROOM,
        };
        self.0.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn disarm(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// Sleeps until the armed bell is rung, but not longer than `limit`. Can return early.
    pub fn sleep(&self, limit: Duration) {
        let armed = self.0.load(Ordering::Relaxed);
        if armed == AWAKE {
            return;
        }
        let limit = futex::Timespec {
            tv_sec: limit.as_secs() as _,
            tv_nsec: limit.subsec_nanos() as _,
        };
        // Woken, rung before, interrupted or timed out: the caller looks again in each case.
        let _ = futex::wait(self.0, futex::Flags::empty(), armed, Some(&limit));
    }

    /// Wakes the owner if it sleeps for `event`.
    pub fn ring(&self, event: Event) {
        fence(Ordering::SeqCst);
        let armed = self.0.load(Ordering::Relaxed);
        if armed == FOR_ROOM || event == Event::Message && armed == FOR_MESSAGES {
            self.0.store(AWAKE, Ordering::Relaxed);
            // Fails only for a bad address or operation.
            let _ = futex::wake(self.0, futex::Flags::empty(), 1);
        }
    }
}
