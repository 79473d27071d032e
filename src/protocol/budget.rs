//! How much a turn may do before others get theirs, and how much it has done.
//! Used by whoever holds the turn; the clock is lent.

use std::fmt;

/// Steps between two looks at the clock.
const CLOCK_EVERY: usize = 8;

/// What is left of a turn, and what it has served.
pub struct Budget {
    /// Messages that were served.
    messages: usize,
    /// Those, and whatever else took time.
    steps: usize,
    max: usize,
    until: u64,
    clock: fn() -> u64,
    spent: bool,
}

impl Budget {
    /// `max` steps, and no more once `clock` is behind `until`.
    #[must_use]
    pub const fn new(max: usize, until: u64, clock: fn() -> u64) -> Self {
        Self {
            messages: 0,
            steps: 0,
            max,
            until,
            clock,
            spent: false,
        }
    }

    /// One that is never spent.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(usize::MAX, u64::MAX, || 0)
    }

    /// A message was served.
    pub fn served_one(&mut self) {
        self.messages += 1;
        self.spend();
    }

    /// Something was done that takes time and is no message.
    pub fn spend(&mut self) {
        self.steps += 1;
        // Asking the clock costs as much as a small handler, so only now and
        // then: a handler that blocks is told by the pool's other threads.
        self.spent |= self.steps >= self.max
            || (self.steps.is_multiple_of(CLOCK_EVERY) && (self.clock)() > self.until);
    }

    /// So many were served in all, whatever was counted: several may have been
    /// parts of one.
    pub const fn recount(&mut self, messages: usize) {
        self.messages = messages;
    }

    /// Whether it is the turn of others.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.spent
    }

    /// Messages that were served.
    #[must_use]
    pub const fn messages(&self) -> usize {
        self.messages
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            steps,
            max,
            ..
        } = self;
        write!(f, "Budget({messages} messages, {steps} of {max} steps)")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_takes_its_time_and_is_not_counted() {
        let mut budget = Budget::new(3, u64::MAX, || 0);
        budget.spend();
        budget.served_one();
        assert_eq!((budget.messages(), budget.is_spent()), (1, false));
        budget.spend();
        assert_eq!((budget.messages(), budget.is_spent()), (1, true));
    }

    #[test]
    fn a_question_spends_nothing() {
        let mut budget = Budget::new(2, u64::MAX, || 0);
        budget.served_one();
        for _ in 0..10 {
            assert!(!budget.is_spent());
        }
    }

    #[test]
    fn time_is_up_at_the_next_look_at_the_clock() {
        let mut budget = Budget::new(usize::MAX, 7, || 8);
        for _ in 1..CLOCK_EVERY {
            budget.served_one();
            assert!(!budget.is_spent());
        }
        budget.served_one();
        assert!(budget.is_spent());
    }
}
