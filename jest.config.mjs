const esm = [
  'age-encryption',
  '@noble',
  '@scure',
  'jose',
  'oidc-provider',
  '@kubernetes/client-node',
  'openid-client',
  'oauth4webapi',
  'jsonpath-plus',
].join('|');

/** @type {import('jest').Config} */
export default {
  testEnvironment: '<rootDir>/test/support/jest/environment.ts',
  globalSetup: '<rootDir>/test/support/jest/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/jest/global-teardown.ts',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  testPathIgnorePatterns: ['<rootDir>/test/e2e/', '<rootDir>/test/tpm-device/'],
  transform: {
    '^.+\\.(ts|js|mjs)$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript', decorators: true }, target: 'es2022' },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  transformIgnorePatterns: [`node_modules/(?!(${esm})/)`],
  // What a failed test leaves open must not keep CI waiting.
  forceExit: Boolean(process.env.CI),
  setupFilesAfterEnv: [
    '<rootDir>/test/support/jest/matchers.ts',
    // Some tests still depend on a fast machine. Whoever runs them sees each failure; CI tries once more, and prints the first one.
    ...(process.env.CI ? ['<rootDir>/test/support/jest/retry.ts'] : []),
  ],
  // For what hangs: no test is told how fast the machine has to be.
  testTimeout: 600_000,
  maxWorkers: 2,
};
