import { readMeasuredBoot } from '../../../attestation/boot/measured';
import { recordBootState } from '../../../attestation/boot/state';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { explainBoot } from '../../../client/cli/boot-report';
import { bootOf, pcrsOf } from '../../support/boot';
import { bootEvents, digestOf, encodeEventLog } from '../../support/event-log';

const golden = recordBootState('golden', bootOf(bootEvents()));
const told = (...given: Parameters<typeof explainBoot>): string => explainBoot(...given).lines.join('\n');

test('a boot as recorded: every PCR as it is demanded, and all of the log believed', () => {
  const text = told([golden], bootOf(bootEvents()));
  expect(text).toMatch(/^boot: as in golden state golden\n/);
  expect(text).not.toContain('differs');
  expect(text).toMatch(/event log: 22 events lead to the quoted values of PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14$/);
});

test('of a log that breaks off, what was read before is shown, and where it ends', () => {
  const log = encodeEventLog(bootEvents());
  const boot = readMeasuredBoot(pcrsOf(bootEvents({ secureBoot: false })), log.subarray(0, log.length - 1));
  const text = told([golden], boot);
  expect(text).toContain('event log: 17 events lead to the quoted values of PCRs 0, 1, 2, 3, 4, 6, 8, 9, 14');
  expect(text).toContain('not believed of PCRs 5, 7');
  expect(text).toMatch(/not readable to its end: event log: expected \d+ bytes at offset \d+, got \d+$/);
});

test('of a PCR that the log does not lead to, the event without a digest is named', () => {
  const events = bootEvents();
  const at = events.findIndex(({ pcr }) => pcr === 4);
  const log = encodeEventLog(events, {
    digests: (event) =>
      [TPM_ALG.SHA1, ...(event === events[at] ? [] : [TPM_ALG.SHA256])].map((id) => [id, digestOf(id, event)]),
  });
  const text = told(
    [recordBootState('old', bootOf(bootEvents({ loader: 'old' })))],
    readMeasuredBoot(pcrsOf(events), log),
  );
  expect(text).toContain(`by what is unknown: event ${at + 1} has no SHA-256 digest`);
  expect(text).toMatch(new RegExp(`not believed of PCRs 4; event ${at + 1} has no SHA-256 digest for PCR 4$`));
});

test('of several PCRs that differ, the one that the machine measured first; without a log or a demand, no more than that', () => {
  const boot = bootOf(bootEvents({ secureBoot: false, loader: 'evil' }));
  const report = explainBoot([golden], boot);
  expect(report.lines.join('\n')).toContain(
    'first to differ: PCR 7 by event 2: EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot = 00',
  );
  expect(report.json).toMatchObject({ state: 'golden', first: 7 });
  expect(told([golden, { ...golden, name: 'twin' }], boot)).toContain(
    'not as in golden state golden, the nearest of 2',
  );
  expect(told(undefined, boot)).toContain('the trust bundle requires no boot state');
  expect(told([golden], readMeasuredBoot(pcrsOf(bootEvents()), undefined))).toContain('none in the evidence');
});
