import { compareWithNearest, matchingState } from '../boot/compare';
import type { MeasuredBoot } from '../boot/measured';
import type { BootState } from '../boot/state';
import { comparisonText } from '../boot/text';
import { PolicyError } from './errors';

/** What a client wants of evidence that is good. */
export interface Policy {
  /** Software TPMs prove nothing against whoever runs the machine: for one machine of one's own, and for tests. */
  softwareTpm: 'allow' | 'refuse';
  /** sha256:HEX of every image that may run; left out: any. */
  imageDigests?: readonly string[] | undefined;
  /** Every node that may sign; left out: any that the attestation authority certified. */
  nodes?: readonly string[] | undefined;
  /** Golden boot states, one of which the quoted PCRs must be in; left out: any boot. */
  bootStates?: readonly BootState[] | undefined;
}

/** What the evidence has proved. */
interface Facts {
  softwareTpm: boolean;
  imageDigest: string;
  node: string;
  boot: MeasuredBoot;
}

/** @throws PolicyError unless every rule agrees. */
export function checkPolicy(facts: Facts, policy: Policy): { value: void; detail: string } {
  checkSoftwareTpm(facts, policy);
  checkImageDigest(facts, policy);
  checkNode(facts, policy);
  const boot = checkBootState(facts, policy);
  const limits = (allowed: readonly string[] | undefined): string =>
    allowed === undefined ? 'any allowed' : 'allowed by the list';
  return {
    value: undefined,
    detail: `image ${facts.imageDigest} (${limits(policy.imageDigests)}), node ${facts.node} (${limits(policy.nodes)}), ${facts.softwareTpm ? 'software' : 'hardware'} TPM, ${boot}`,
  };
}

function checkSoftwareTpm({ softwareTpm }: Facts, policy: Policy): void {
  if (softwareTpm && policy.softwareTpm !== 'allow')
    throw new PolicyError('policy.software_tpm', 'expected a hardware TPM, got a software one');
}

function checkImageDigest({ imageDigest }: Facts, { imageDigests }: Policy): void {
  if (imageDigests === undefined || imageDigests.includes(imageDigest)) return;
  throw new PolicyError('policy.image_digest', `expected ${oneOf(imageDigests, 'image')}, got ${imageDigest}`);
}

function checkNode({ node }: Facts, { nodes }: Policy): void {
  if (nodes === undefined || nodes.includes(node)) return;
  throw new PolicyError('policy.node', `expected ${oneOf(nodes, 'node')}, got ${node}`);
}

/** @returns which state it is, for people */
function checkBootState({ boot }: Facts, { bootStates }: Policy): string {
  if (bootStates === undefined) return 'any boot';
  const state = matchingState(bootStates, boot);
  if (state !== undefined) return `boot state ${state.name}`;
  const nearest = compareWithNearest(bootStates, boot);
  const wanted =
    bootStates.length === 1
      ? `boot state ${nearest?.state}`
      : oneOf(
          bootStates.map(({ name }) => name),
          'boot state',
        );
  const got =
    nearest === undefined
      ? 'a boot that none of them allows'
      : `another: compared with ${nearest.state}, ${comparisonText(nearest)}`;
  throw new PolicyError('policy.boot_state', `expected ${wanted}, got ${got}`);
}

function oneOf(allowed: readonly string[], what: string): string {
  return allowed.length === 1 ? String(allowed[0]) : `one of ${allowed.length} allowed ${what}s`;
}
