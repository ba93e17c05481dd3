import { createHmac } from 'node:crypto';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

/** An authenticator as people have one, written apart from ours: it knows the Base32 secret alone. */
export class Authenticator {
  private readonly key: Buffer;

  constructor(
    secret: string,
    private readonly clock: Pick<Clock, 'now'> = systemClock,
  ) {
    const bits = [...secret.replace(/\s/g, '')]
      .map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'))
      .join('');
    this.key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  }

  /** The code that it shows now, or so many half minutes from now. */
  code(steps = 0): string {
    const counter = Buffer.alloc(8);
    counter.writeUInt32BE(Math.floor(this.clock.now() / 30_000) + steps, 4);
    const mac = createHmac('sha1', this.key).update(counter).digest();
    const at = mac[19]! & 15;
    const number = ((mac[at]! & 127) << 24) | (mac[at + 1]! << 16) | (mac[at + 2]! << 8) | mac[at + 3]!;
    return String(number % 1_000_000).padStart(6, '0');
  }

  /** A code that is none of the next or last minutes. */
  wrong(): string {
    const right = new Set(Array.from({ length: 9 }, (_, i) => this.code(i - 4)));
    return ['000000', '111111', '222222', '333333', '444444', '555555', '666666', '777777', '888888', '999999'].find(
      (code) => !right.has(code),
    )!;
  }
}
