//! Certificates, envelopes and handshakes of whole collectives, made by the public interface alone.

mod attacker;
mod code_signing;
mod crl;
mod envelopes;
mod fixture;
mod front_end;
mod handshakes;
mod issuing;
mod join_vectors;
mod roles;
mod rotation;
mod shapes;
