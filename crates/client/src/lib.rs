//! Client library for `linnetd`.
