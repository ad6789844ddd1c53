"""PostgreSQL databases, logins and grants on existing servers, by kubectl apply."""
