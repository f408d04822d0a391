"""The programs that users start, and their code: run everything, test, simulate, measure, look into shared memory."""
