/** A cluster has moods that no test can wait out. A test that fails is tried once more, and says why it failed before. */
jest.retryTimes(1, { logErrorsBeforeRetry: true });
