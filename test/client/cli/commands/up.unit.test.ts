import { readFileSync } from 'node:fs';

const guide = readFileSync('docs/hardware.md', 'utf8');

test.each(['sls.service', 'sls.conf'])(
  'what docs/hardware.md installs as %s is what the guest of test/tpm-device runs',
  (name) => {
    const lines = readFileSync(`test/tpm-device/guest/${name}`, 'utf8')
      .split('\n')
      .filter((line) => !line.startsWith('#'));
    expect(guide).toContain(lines.join('\n').trim());
  },
);
