//! Control sockets: who connects asks for something, and is answered.
