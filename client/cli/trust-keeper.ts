import type { TrustBundle } from '../../attestation/trust/bundle';
import type { SignedTrust } from '../../attestation/trust/signed-bundle';
import type { Output } from './output';
import { applyPreferences, keepNewerTrust } from './trust';
import type { TrustPreferences } from './trust';

/** The trust of one command: the operator's bundle with the person's own preferences over it, replaced when a newer bundle comes. */
export class TrustKeeper {
  private current: TrustBundle;
  /** As its operator signed it. */
  signed: string;
  /** A newer bundle came. */
  renewed = false;

  constructor(
    { bundle, signed }: SignedTrust,
    readonly preferences: TrustPreferences,
    private readonly out: Output,
  ) {
    this.current = applyPreferences(bundle, preferences);
    this.signed = signed;
  }

  get trust(): TrustBundle {
    return this.current;
  }

  /** For `onTrust` of the library. */
  readonly onTrust = async (newer: TrustBundle, signed: string): Promise<TrustBundle> => {
    if (await keepNewerTrust({ bundle: newer, signed }))
      this.out.note(`trust bundle ${newer.sequence} taken from the service: signed by the pinned trust key`);
    this.renewed = true;
    this.signed = signed;
    this.current = applyPreferences(newer, this.preferences);
    return this.current;
  };
}
