//! Freestanding guests of a few hundred bytes on this host's own `/dev/kvm`, whatever stands behind it:
//! what the program does when a guest writes, ends, floods or breaks. Without `/dev/kvm` they fail.

mod code;
mod ending;
mod hostile;
mod run;
