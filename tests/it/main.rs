//! The integration tests: one binary, so that one link serves them all.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helper functions too"
)]

mod accept_mutex;
mod access_log;
mod admin;
mod admin_figures;
mod architecture;
mod bad_input;
mod becomes;
mod behind_proxies;
mod bench;
mod browser;
#[cfg(feature = "session")]
mod browser_login;
mod browser_tabs;
mod bus;
mod bus_faults;
mod busy;
mod circles;
mod client;
mod client_functions;
mod client_restart;
mod client_states;
mod clients;
mod codecs;
mod confined;
mod daemon;
mod deaths;
mod devtools;
mod doctor;
mod downloads;
mod drain_http;
mod ends;
mod endurance;
mod errors;
mod examples;
mod features;
mod files;
mod files_answers;
mod files_nginx;
mod flood;
mod flow;
mod formats;
mod full_house;
mod handover;
mod harness;
mod hostile;
mod http;
mod http_bodies;
mod http_refusals;
mod http_replies;
mod http_rooms;
mod http_streams;
mod instance;
mod keys;
mod listeners;
mod load;
mod lobby;
mod logs;
mod many_workers;
mod master;
mod messages;
mod modes;
mod mutated;
mod operate;
mod order;
mod owing;
mod own;
mod packaging;
mod per_ip;
mod proxy;
mod public;
mod pushes;
mod readme;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_server;
mod reload;
mod requests_nginx;
mod service;
#[cfg(all(feature = "session", feature = "redis"))]
mod sessions;
mod silence;
mod slow;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod starters;
mod stops;
mod stress;
#[cfg(feature = "stress")]
mod stress_exchange;
#[cfg(feature = "stress")]
mod stress_http;
mod tasks;
mod upgrade;
#[cfg(feature = "sqlite")]
mod visitor;
mod watchdog;
mod websocket;
mod websocket_clients;
mod websocket_ids;
mod websocket_limits;
mod websocket_log;
mod websocket_moves;
mod websocket_outgoing;
mod websocket_packed;
