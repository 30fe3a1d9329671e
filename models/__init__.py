"""Mathematics: arrays in, arrays out; never opens a table or a socket."""
