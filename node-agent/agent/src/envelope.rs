//! Signed envelopes between their form in messages and the one that can be verified.

use muster_pki::{Envelope, EnvelopeError, PayloadType};
use muster_wire::node::v1::Envelope as WireEnvelope;

/// The envelope in a message, which must be of type `expected`.
pub fn read(wire: &WireEnvelope, expected: PayloadType) -> Result<Envelope, EnvelopeError> {
    Envelope::from_json(wire.to_string().as_bytes(), expected)
}

/// An envelope for a message.
pub fn wire(envelope: &Envelope) -> WireEnvelope {
    serde_json::to_value(envelope).expect("an envelope has no map with keys that are not strings")
}
