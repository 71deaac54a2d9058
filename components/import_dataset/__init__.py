"""Import the published OpenCharacter release in place of synthesis."""
