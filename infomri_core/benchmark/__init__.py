"""Published tables made again: rows that run one by one, are kept as they finish, and are set
beside the published figures."""
