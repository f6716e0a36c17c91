"""A trained policy in people's hands: one question at a time, files of questions, and a server of OpenAI's protocol."""
