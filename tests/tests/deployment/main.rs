//! What is shipped to run Sampan in Kubernetes: the image, and the manifests of `deploy/`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod image;
mod manifests;
mod pod;
mod shipped;
