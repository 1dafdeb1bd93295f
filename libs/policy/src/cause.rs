use pointsman_errors::Reason;

pub use pointsman_proto::policy::v1::Cause;

/// A set of causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes(u8);

impl Causes {
    /// Every cause.
    pub const ALL: Self = Self::of(&[
        Cause::Unavailable,
        Cause::Saturated,
        Cause::RateLimited,
        Cause::ContextTooLong,
        Cause::ContentRefused,
    ]);
    /// The causes that lie with the instances and not with the request: another of them may do better.
    pub const CAPACITY: Self = Self::of(&[Cause::Unavailable, Cause::Saturated, Cause::RateLimited]);

    /// Makes a set.
    pub const fn of(causes: &[Cause]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < causes.len() {
            bits |= 1 << causes[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether the cause is among them.
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 & (1 << cause as u8) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Cause> for Causes {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        causes.into_iter().fold(Self::default(), |set, cause| Self(set.0 | Self::of(&[cause]).0))
    }
}

/// Returns the cause that an error is for a policy; `None` if no other target could do better: the request
/// itself is wrong, or its caller has left.
pub fn cause_of(reason: Reason) -> Option<Cause> {
    match reason {
        Reason::NoInstanceReady
        | Reason::InstanceUnreachable
        | Reason::EngineLost
        | Reason::StreamTruncated
        | Reason::GenerationFailed
        | Reason::AttemptTimeout
        | Reason::ShuttingDown
        | Reason::Internal => Some(Cause::Unavailable),
        Reason::QueueFull | Reason::Overloaded => Some(Cause::Saturated),
        Reason::RateLimited => Some(Cause::RateLimited),
        Reason::ContextTooLong => Some(Cause::ContextTooLong),
        Reason::ContentRefused => Some(Cause::ContentRefused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Causes};

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: Causes = [Cause::Unavailable, Cause::ContextTooLong].into_iter().collect();
        assert!(set.contains(Cause::ContextTooLong) && !set.contains(Cause::Saturated));
        assert!(Causes::default().is_empty() && !Causes::ALL.is_empty());
        assert!(!Causes::CAPACITY.contains(Cause::ContentRefused));
    }
}
