//! What was wrong with the store's side, or lost, for the host's log: what Linux prints a warning of.

use alloc::collections::VecDeque;
use core::fmt;
use ioctlab_chardev::FileId;

/// So many are kept; more are dropped until some were fetched.
const MAX_COMPLAINTS: usize = 16;

/// Something that the store should not have done, or that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The indices of the ring of replies were further apart than it is long.
    BadReplyIndices,
    /// The same of the ring of requests; a request was lost.
    BadRequestIndices,
    /// A message's payload was to be so long.
    TooLong(u32),
    /// There is no request with this number that waits for an answer.
    UnknownRequest(u32),
    /// A watch event was not two strings.
    BadEvent,
    /// A file began a transaction, and the answer has no number.
    BadTransaction(FileId),
    /// A file ended a transaction that it doesn't have; the answer is lost.
    NoTransaction(FileId),
    /// A file has too much unread data, or there was no memory: an answer or event is lost.
    Lost(FileId),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadReplyIndices => f.write_str("the store's ring of replies has impossible indices"),
            Self::BadRequestIndices => {
                f.write_str("the store's ring of requests has impossible indices; a request is lost")
            }
            Self::TooLong(length) => {
                write!(f, "the store sent a message of {length} bytes, which is too long")
            }
            Self::UnknownRequest(request) => write!(f, "the store answered request {request}, which is none"),
            Self::BadEvent => f.write_str("the store sent a watch event that is not two strings"),
            Self::BadTransaction(file) => {
                write!(f, "the store began a transaction for file {} without a number", file.0)
            }
            Self::NoTransaction(file) => {
                write!(
                    f,
                    "the answer to file {} is lost: it ended a transaction that it doesn't have",
                    file.0
                )
            }
            Self::Lost(file) => {
                write!(
                    f,
                    "an answer or event for file {} is lost: there is too much that it has not read",
                    file.0
                )
            }
        }
    }
}

/// A bounded queue of complaints.
#[derive(Debug)]
pub(crate) struct Complaints(VecDeque<Complaint>);

impl Complaints {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn push(&mut self, complaint: Complaint) {
        if self.0.len() < MAX_COMPLAINTS {
            self.0.push_back(complaint);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Complaint> {
        self.0.pop_front()
    }
}
