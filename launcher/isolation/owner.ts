import { lchown, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The range of user ids that systemd leaves to nobody (its UIDS-GIDS.md: "HIC SVNT LEONES"), from a round number on. */
const FIRST_ID = 1_900_000_000;
const END_ID = 2_147_483_648;

/**
 * Gives each workspace a user id of its own, which is remembered as the folder's owner.
 * @param folder of all workspaces @returns of this one, all of which is its owner's then
 */
export class WorkspaceOwners {
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly folder: string) {}

  /** One at a time: no id is given twice. */
  ownerOf(workspace: string): Promise<number> {
    const owner = this.turn.then(() => this.choose(workspace));
    this.turn = owner.catch(() => undefined);
    return owner;
  }

  private async choose(workspace: string): Promise<number> {
    await mkdir(workspace, { recursive: true, mode: 0o700 });
    const { uid } = await stat(workspace);
    if (isOurs(uid)) return uid;
    const names = await readdir(this.folder);
    const taken = await Promise.all(names.map(async (name) => (await stat(join(this.folder, name))).uid));
    const owner = Math.max(FIRST_ID, ...taken.filter(isOurs)) + 1;
    await giveTree(workspace, owner);
    return owner;
  }
}

function isOurs(uid: number): boolean {
  return uid >= FIRST_ID && uid < END_ID;
}

/** The folder itself last: what is interrupted is begun again. */
async function giveTree(path: string, owner: number): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await giveTree(inner, owner);
    else await lchown(inner, owner, owner);
  }
  await lchown(path, owner, owner);
}
