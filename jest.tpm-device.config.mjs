import base from './jest.config.mjs';

/** Tests in a virtual machine with a TPM device of its own: scripts/tpm-device makes its disks and runs them. One guest after the other. */
export default {
  ...base,
  roots: ['<rootDir>/test/tpm-device'],
  testPathIgnorePatterns: [],
  setupFilesAfterEnv: [],
  maxWorkers: 1,
};
