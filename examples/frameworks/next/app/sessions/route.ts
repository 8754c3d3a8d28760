/** Who is connected. */
import { hub } from "../../lib/hub";

// Without it Next would answer with what it saw while it was built.
export const dynamic = "force-dynamic";

export function GET(): Response {
  return Response.json(hub.sessions());
}
