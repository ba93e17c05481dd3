/** Clusters and busy machines have moods that no test can wait out. A test that fails is tried once more, and why it failed before is printed. */
jest.retryTimes(1, { logErrorsBeforeRetry: true });
