//! Published collections of good and broken pictures.
