//! The two rings of bytes in the page that kernel and store share (`xenbus_comms.c`).

use ioctlab_abi::xenbus::ring::{
    REPLIES, REPLY_CONSUMER, REPLY_PRODUCER, REQUEST_CONSUMER, REQUEST_PRODUCER, REQUESTS, SIZE,
};

/// The page that the kernel shares with the store, and its event channel. Offsets are those of
/// [`ioctlab_abi::xenbus::ring`].
///
/// The other side may write to the page at any time. So a load is an acquire, a store a release; and what is read is
/// copied.
pub trait Ring {
    /// The word at an offset.
    fn load(&mut self, offset: usize) -> u32;

    /// Sets the word at an offset.
    fn store(&mut self, offset: usize, value: u32);

    /// Copies bytes from an offset on. They lie within one of the two rings.
    fn read(&mut self, offset: usize, to: &mut [u8]);

    /// Copies bytes to an offset. They lie within one of the two rings.
    fn write(&mut self, offset: usize, from: &[u8]);

    /// Notifies the store by its event channel.
    fn notify(&mut self);
}

/// The indices of a ring were further apart than it is long. They are both 0 now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadIndices;

/// Where one of the rings lies.
struct Place {
    bytes: usize,
    consumer: usize,
    producer: usize,
}

const INPUT: Place = Place { bytes: REPLIES, consumer: REPLY_CONSUMER, producer: REPLY_PRODUCER };
const OUTPUT: Place = Place { bytes: REQUESTS, consumer: REQUEST_CONSUMER, producer: REQUEST_PRODUCER };

/// A ring's indices at some moment.
struct Indices {
    consumer: u32,
    producer: u32,
    /// How many bytes are in the ring; at most its size.
    filled: usize,
}

impl Place {
    /// Reads the indices, then checks them (`check_indexes`).
    fn indices(&self, ring: &mut dyn Ring) -> Result<Indices, BadIndices> {
        let consumer = ring.load(self.consumer);
        let producer = ring.load(self.producer);
        match distance(consumer, producer) {
            filled @ 0..=SIZE => Ok(Indices { consumer, producer, filled }),
            _ => {
                ring.store(self.consumer, 0);
                ring.store(self.producer, 0);
                Err(BadIndices)
            }
        }
    }
}

/// Takes bytes of replies until `to` is full or the ring empty; returns how many (`xb_read`). Tells the store of room if
/// the ring was full.
pub(crate) fn take(ring: &mut dyn Ring, to: &mut [u8]) -> Result<usize, BadIndices> {
    let mut done: usize = 0;
    while done < to.len() {
        let Indices { consumer, filled, .. } = INPUT.indices(ring)?;
        if filled == 0 {
            break;
        }
        let left = to.get_mut(done..).unwrap_or_default();
        let (start, contiguous) = position(consumer);
        let chunk = left.len().min(filled).min(contiguous);
        ring.read(INPUT.bytes.saturating_add(start), left.get_mut(..chunk).unwrap_or_default());
        done = done.saturating_add(chunk);
        ring.store(INPUT.consumer, advanced(consumer, chunk));
        if distance(consumer, ring.load(INPUT.producer)) >= SIZE {
            ring.notify();
        }
    }
    Ok(done)
}

/// Writes bytes of requests until all are written or the ring is full; returns how many (`xb_write`). Tells the store of
/// them if it had taken all there was before.
pub(crate) fn put(ring: &mut dyn Ring, from: &[u8]) -> Result<usize, BadIndices> {
    let mut done: usize = 0;
    while done < from.len() {
        let Indices { producer, filled, .. } = OUTPUT.indices(ring)?;
        if filled == SIZE {
            break;
        }
        let left = from.get(done..).unwrap_or_default();
        let (start, contiguous) = position(producer);
        let chunk = left.len().min(SIZE.saturating_sub(filled)).min(contiguous);
        ring.write(OUTPUT.bytes.saturating_add(start), left.get(..chunk).unwrap_or_default());
        done = done.saturating_add(chunk);
        ring.store(OUTPUT.producer, advanced(producer, chunk));
        if distance(producer, ring.load(OUTPUT.consumer)) <= SIZE {
            ring.notify();
        }
    }
    Ok(done)
}

/// Whether there are bytes of replies, or indices that can't be.
pub(crate) fn has_input(ring: &mut dyn Ring) -> bool {
    ring.load(REPLY_CONSUMER) != ring.load(REPLY_PRODUCER)
}

/// How far an index is ahead of another.
fn distance(from: u32, to: u32) -> usize {
    usize::try_from(to.wrapping_sub(from)).unwrap_or(usize::MAX)
}

/// Where in the ring an index points, and how many bytes there are from there to the ring's end.
fn position(index: u32) -> (usize, usize) {
    let start = usize::try_from(index).unwrap_or(0) & SIZE.saturating_sub(1);
    (start, SIZE.saturating_sub(start))
}

/// An index after so many bytes more.
fn advanced(index: u32, bytes: usize) -> u32 {
    index.wrapping_add(u32::try_from(bytes).unwrap_or(0))
}
