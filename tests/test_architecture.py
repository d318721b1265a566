"""Where the law lies now."""

from tests.product.test_architecture import *  # noqa: F403
