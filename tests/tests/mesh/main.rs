//! The mesh as its users see it: each test starts its own processes, on ports of their own, and stops them.
//!
//! A file per subject. What tests share: [`service`] starts and stops processes of ours, [`fleet`] several workers
//! behind a gateway; [`caller`] calls them, [`named`] asks what is kept under a name, [`program`] runs a program to its end.

mod caller;
mod fleet;
mod named;
mod program;
mod service;

mod ai_sdk;
mod attempts;
mod behind;
mod bench_model;
mod breakers;
mod cancellation;
mod channels;
mod clients_page;
mod command_line;
mod compose;
mod configuration;
mod connections;
mod deadline;
mod dishonest_instance;
mod drain;
mod examples;
mod faults;
mod grpc_sdk;
mod keepalive;
mod keys;
mod langchain;
mod limits;
mod load;
mod local_mesh;
mod lost_worker;
mod malformed;
mod mesh_listener;
mod openai_contract;
mod openai_sdk;
mod openapi;
mod operators;
mod overload;
mod peers;
mod pictures;
mod policies;
mod priorities;
mod repeats;
mod rolling;
mod script;
mod seam;
mod sessions;
mod several_models;
mod slow_reader;
mod tls;
mod traces;
mod trails;
mod unary;
mod usage;
mod watchdog;
mod web;
