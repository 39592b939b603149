//! Do the house rules hold?
