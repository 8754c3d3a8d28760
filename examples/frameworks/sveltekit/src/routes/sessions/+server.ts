/** Who is connected. */
import { json } from "@sveltejs/kit";
import { hub } from "$lib/server/hub";

export const GET = () => json(hub.sessions());
