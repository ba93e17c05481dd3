import base from '../../jest.config.mjs';

/** For the copy of the tree that run.mjs makes: all mutants in one process, one after the other. */
export default {
  ...base,
  rootDir: '../..',
  runner: '<rootDir>/scripts/mutation/runner.mjs',
  testEnvironment: '<rootDir>/test/mutation/environment.ts',
  // Some mutants wait for what never comes.
  testTimeout: 120_000,
};
