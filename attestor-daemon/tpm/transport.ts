import { tpmOpener } from './open';
import { nativeQuotes } from './quote-native';
import { toolQuotes } from './quote-tools';
import type { QuoteOnce } from './raw-quote';
import type { TpmTools } from './tools';

/** Who makes quotes: the TPM's own commands, or tpm2-tools. Left out: the former, where they can be given over the TCTI. */
export type TpmTransport = 'native' | 'tools';

export function quotesBy(transport: TpmTransport | undefined, tools: TpmTools): QuoteOnce {
  const open = transport === 'tools' ? undefined : tpmOpener(tools.tcti);
  return open === undefined ? toolQuotes(tools) : nativeQuotes(open, tools);
}
