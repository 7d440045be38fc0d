-- The copy never writes to a customer, and nobody logs in to it with a password of production's.
UPDATE auth_user SET email = 'user' || id || '@example.invalid', password = '!';
