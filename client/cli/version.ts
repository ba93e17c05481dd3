/** Set by scripts/build.mjs. */
declare const SLS_COMMIT: string | undefined;

const VERSION = '0.2.0';

/** What `sls --version` prints: the release, and the commit that it was built from. */
export function versionText(json: boolean): string {
  const commit = typeof SLS_COMMIT === 'string' ? SLS_COMMIT : 'unknown';
  return json ? JSON.stringify({ version: VERSION, commit }) : `${VERSION} (commit ${commit})`;
}
