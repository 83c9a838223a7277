//! Configuration that changes all the time, under load: nothing is lost, pools and clients stay, bad updates are refused by name, and a
//! control plane that misbehaves harms nobody.
//!
//! Every figure is printed for both programs side by side; Sampan is held to the bounds. The counts are reduced to fit a quick run;
//! `SAMPAN_CHURN=full` has those of the goals: 1,000 route updates, 1,000 of clusters and endpoints, 200 of listeners at 40 per
//! second, 200 bad ones, 100 kills of the control plane.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chaos;
mod invalid;
mod setting;
mod updates;
