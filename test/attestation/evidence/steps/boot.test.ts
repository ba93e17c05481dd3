import { recordBootState } from '../../../../attestation/boot/state';
import { readEvidenceJson, writeEvidenceJson } from '../../../../attestation/evidence/json';
import type { PassedStep } from '../../../../attestation/evidence/verify';
import { verifyEvidence } from '../../../../attestation/evidence/verify';
import { bootOf, pcrsOf } from '../../../support/boot';
import { bootEvents, encodeEventLog } from '../../../support/event-log';
import type { EventInput } from '../../../support/event-log';
import { makeEvidence, makeFakeTpm, verifyOptions } from '../../../support/evidence';
import type { FakeTpm } from '../../../support/evidence';

let tpm: FakeTpm;
beforeAll(async () => void (tpm = await makeFakeTpm()));

const golden = recordBootState('golden', bootOf(bootEvents()));
const policy = { softwareTpm: 'refuse' as const, bootStates: [golden] };

/** Evidence of a machine that measured `events` and has `eventLog`. */
function evidenceOf(
  events: readonly EventInput[],
  eventLog: Buffer | undefined = encodeEventLog(events),
): ReturnType<typeof makeEvidence> {
  return makeEvidence(tpm, {
    pcrs: Object.fromEntries(pcrsOf(events).map(({ index, sha256 }) => [index, sha256])),
    after: { eventLog },
  });
}

const verify = (
  evidence: ReturnType<typeof evidenceOf>,
  options: Partial<Parameters<typeof verifyOptions>[1]> = {},
): ReturnType<typeof verifyEvidence> => verifyEvidence(evidence, verifyOptions(tpm, { policy, ...options }));

test('a machine in a golden boot state passes, with or without its log, and the step says which state', () => {
  const steps: PassedStep[] = [];
  verify(evidenceOf(bootEvents()), { onStep: (step) => steps.push(step) });
  expect(steps.at(-1)).toMatchObject({ step: 'policy', detail: expect.stringContaining('boot state golden') });
  expect(() => verify({ ...evidenceOf(bootEvents()), eventLog: undefined })).not.toThrow();
});

test('a machine that booted otherwise is refused by the policy, with the PCR and the event', () => {
  expect(() => verify(evidenceOf(bootEvents({ secureBoot: false })))).toThrow(
    expect.objectContaining({
      name: 'PolicyError',
      step: 'policy',
      code: 'policy.boot_state',
      message: expect.stringMatching(
        /^expected boot state golden, got another: .* PCR 7 differs by event 2: .* SecureBoot = 00, expected .* SecureBoot = 01$/,
      ),
    }),
  );
});

test('another kernel command line is refused, and told in words', () => {
  expect(() => verify(evidenceOf(bootEvents({ commandLine: 'root=/dev/vda2 ro quiet init=/bin/sh' })))).toThrow(
    expect.objectContaining({
      code: 'policy.boot_state',
      message: expect.stringMatching(/PCR 8 differs by event 17: .*; the kernel command line has init=\/bin\/sh$/),
    }),
  );
});

test("evidence of release 0.1's attestors stays good, but not for a state that names the kernel's PCRs", () => {
  const pcrs = pcrsOf(bootEvents()).slice(0, 8);
  const evidence = makeEvidence(tpm, {
    selection: [0, 1, 2, 3, 4, 5, 6, 7, 23],
    pcrs: Object.fromEntries(pcrs.map(({ index, sha256 }) => [index, sha256])),
  });
  expect(evidence.pcrs).toHaveLength(9);
  const firmware = recordBootState('firmware', bootOf(bootEvents()), [0, 1, 2, 3, 4, 5, 6, 7]);
  expect(() => verify(evidence, { policy: { ...policy, bootStates: [firmware] } })).not.toThrow();
  expect(() => verify(evidence)).toThrowWithCode('policy.boot_state');
  // Values beside those that were quoted, as if the kernel had been measured.
  const more = {
    ...evidence,
    pcrs: [...evidence.pcrs.slice(0, 8), ...pcrsOf(bootEvents()).slice(8), evidence.pcrs[8]!],
  };
  expect(() => verify(more)).toThrowWithCode('pcr_digest.values');
});

test('a golden log does not save other PCRs', () => {
  expect(() => verify(evidenceOf(bootEvents({ loader: 'evil' }), encodeEventLog(bootEvents())))).toThrowWithCode(
    'policy.boot_state',
  );
});

test('a wrong log does not harm golden PCRs: it is told, and not believed', () => {
  const other = verify(evidenceOf(bootEvents(), encodeEventLog(bootEvents({ secureBoot: false }))));
  expect(other.warnings).toEqual([
    expect.objectContaining({ code: 'event_log.contradicted', message: expect.stringMatching(/ for 7$/) }),
  ]);
  expect(other.boot.events.has(7)).toBe(false);
  expect(verify(evidenceOf(bootEvents(), Buffer.from('junk'))).warnings).toEqual([
    expect.objectContaining({ code: 'event_log.unreadable' }),
  ]);
});

test('one of several golden states is enough; an empty list allows none', () => {
  const other = recordBootState('other', bootOf(bootEvents({ loader: 'next version' })));
  expect(() =>
    verify(evidenceOf(bootEvents({ loader: 'next version' })), { policy: { ...policy, bootStates: [golden, other] } }),
  ).not.toThrow();
  expect(() => verify(evidenceOf(bootEvents()), { policy: { ...policy, bootStates: [] } })).toThrowWithCode(
    'policy.boot_state',
  );
});

test("the log stays with the evidence's file", () => {
  const evidence = evidenceOf(bootEvents());
  expect(readEvidenceJson(writeEvidenceJson(evidence))).toEqual(evidence);
});
