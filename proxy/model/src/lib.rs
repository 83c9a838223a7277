//! The pure domain: routes, clusters, hosts, load balancing. No I/O, no clock, no proto.
