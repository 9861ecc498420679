//! The whole product over real sockets: what works, and what must not.
//!
//! Every test starts from the real programs. Tests share one control plane, where each keeps to nodes, pools, users
//! and functions of its own; a test that restarts its control plane, moves its time or sets something for all has a
//! control plane of its own.

mod anybody;
mod attacker;
mod audit;
mod command_line;
mod crash;
mod doctor;
mod engine_session;
mod epoch;
mod expression;
mod find_scripts;
mod front_end;
mod grant;
mod group_command;
mod heartbeat;
mod join;
mod join_in_rotation;
mod join_messages;
mod join_token;
mod killed_authority;
mod killed_node;
mod killed_server;
mod library;
mod library_content;
mod license;
mod live;
mod offer;
mod opening;
mod outcome;
mod packages;
mod parsers;
mod pkcs11;
mod policy;
mod postgres;
mod read_by_others;
mod real_node;
mod receipt;
mod rest;
mod revocation;
mod rights;
mod run;
mod scenario;
mod scheduling;
mod session;
mod signing;
mod stamp;
mod tls;
mod trust;
mod trust_order;
mod trust_state;
