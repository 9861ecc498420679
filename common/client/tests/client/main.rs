//! The client against real servers, also those that are slow, wrong, cut off or gone.

mod calls;
mod connecting;
mod content;
mod receipts;
mod server;
mod streams;
