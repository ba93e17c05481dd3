import base from './jest.config.mjs';

/** Tests against a real cluster: scripts/e2e builds the images and runs them. They share the cluster, so one after the other. */
export default {
  ...base,
  roots: ['<rootDir>/test/e2e'],
  testPathIgnorePatterns: [],
  globalSetup: '<rootDir>/test/e2e/support/install.ts',
  setupFilesAfterEnv: ['<rootDir>/test/support/jest/matchers.ts', '<rootDir>/test/support/jest/retry.ts'],
  testTimeout: 240_000,
  maxWorkers: 1,
};
