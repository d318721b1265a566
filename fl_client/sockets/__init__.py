"""How a site's processes talk: Unix sockets, who may use them, what a vault says of itself."""
