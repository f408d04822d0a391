"""One instance of the payment gateway: a supervisor, its web workers and its dispatchers."""
